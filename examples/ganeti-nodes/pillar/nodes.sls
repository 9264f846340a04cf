# How the nodes reach ZooKeeper, and what an update is. Whom they ask for the cluster's state they know themselves: each
# node of a Ganeti cluster has the candidates' addresses and the key.
zookeeper:
  nodes:                          # profile: nodes
    hosts: zk1:2181,zk2:2181,zk3:2181

nodes:
  command: apt-get --assume-yes dist-upgrade
  pool: /update/ganeti-nodes      # the znode with the slot
  timeout: 14400                  # seconds that a node waits for its turn
  attempts: 60                    # how often a node asks whether the candidates agree
  interval: 10                    # seconds between two times
  seconds: 5                      # for which a node waits for the candidates' replies, each time
