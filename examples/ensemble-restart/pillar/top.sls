base:
  'zk*':
    - zookeeper
  # The orchestration: it runs as a minion of this name on the master, whose configuration has no `id`.
  '*_master':
    - zookeeper
