web:
  home: /srv/web                  # where the service is
  journal: /srv/web/journal       # where it writes down its stops and starts
  pool: /restart/web              # the znode with the slots
  max_concurrency: 2              # how many restart at once
  timeout: 600                    # seconds that a host waits for its turn
  keep_on_failure: false          # true: a failed restart keeps its slot until someone has looked
