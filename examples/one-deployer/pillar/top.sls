base:
  'app*':
    - zookeeper
    - deploy
