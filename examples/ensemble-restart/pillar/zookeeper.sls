# How minions and, by master.d/zookeeper.conf, the master reach the ensemble as its super user.
zookeeper:
  super:                          # profile: super
    hosts: zk1:2181,zk2:2181,zk3:2181
    scheme: digest
    username: super
    password: change-me
    session_timeout: 10           # seconds after which the slot of a dead host is free
zk:
  restart: systemctl restart zookeeper
  pool: /restart/zookeeper        # the znode with the slot, on the very ensemble that is restarted
  timeout: 600                    # seconds that a host waits for its turn, and for all to be in sync
  members:                        # who is to be in the ensemble
    - server.1=zk1:2888:3888:participant;2181
    - server.2=zk2:2888:3888:participant;2181
    - server.3=zk3:2888:3888:participant;2181
  minions:                        # which minion runs which server
    1: zk1
    2: zk2
    3: zk3
    4: zk4
    5: zk5
