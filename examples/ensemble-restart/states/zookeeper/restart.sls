# Restart the ZooKeeper server of this host, when all others are in sync, and no other host is at it.
{%- set zk = salt['config.get']('zk', merge='recurse') %}
{%- set ids = [] %}
{%- for id, minion in zk.minions.items() if minion == grains['id'] %}
{%- do ids.append(id) %}
{%- endfor %}

# A slot on the very ensemble that is restarted: its session outlives the server.
one at a time:
  zk_concurrency.held:
    - name: {{ zk.pool }}
    - profile: super
    - timeout: {{ zk.timeout }}

# This host's own server is not waited for: one that hangs is restarted as well.
all others are in sync:
  zk_ensemble.synced:
    - profile: super
    - besides: {{ ids | json }}
    - timeout: {{ zk.timeout }}
    - require:
      - zk_concurrency: one at a time

zookeeper is restarted:
  cmd.run:
    - name: {{ zk.restart }}
    - require:
      - zk_ensemble: all others are in sync

# The slot is given back once the server is in sync again, and not as soon as the command has ended.
all are in sync again:
  zk_ensemble.synced:
    - profile: super
    - timeout: {{ zk.timeout }}
    - require:
      - cmd: zookeeper is restarted
