# How minions reach ZooKeeper. The master's own copy, for the runner, is master.d/zookeeper.conf.
zookeeper:
  restart:                        # profile: restart
    hosts: zk1:2181,zk2:2181,zk3:2181
    username: salt
    password: change-me
    default_acl:                  # of the znodes that are made: the minions do all, the others look
      - {username: salt, password: change-me, allperms: true}
      - {username: oncall, password: look-only, read: true}
