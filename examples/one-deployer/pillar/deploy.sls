deploy:
  home: /srv/deploy               # where the scripts are
  database: /srv/deploy/database  # the resource that is migrated: a directory that all hosts share
  lease: /leases/prod/migration   # the znode
  duration: 1m                    # for how long the others wait for one that is dead
  timeout: 3600                   # seconds that a host waits for its turn
