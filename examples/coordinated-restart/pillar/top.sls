base:
  'web*':
    - zookeeper
    - web
