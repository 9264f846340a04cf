web:
  home: /srv/web                  # where the service is
  journal: /srv/web/journal       # where it writes down its stops and starts
  lock: restart                   # the lock, in the coordinator `web`
  policy:                         # who may have it together: two of the fleet, and one of each rack
    max: 2
    per: {rack: 1}                # the grain `rack` of each minion

# Tells the master when the turn of this minion has come. The reactor in master.d/ does the rest.
beacons:
  zk_coordinator:
    - key: web
    - profile: restart
    - again: 60                   # seconds after which a turn that was not made use of is told again
