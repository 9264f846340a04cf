# Restart the ZooKeeper server of this host, when all others are in sync, and no other host is at it.
{%- set zk = salt['config.get']('zk', merge='recurse') %}

# A slot on the very ensemble that is restarted: its session outlives the server.
one at a time:
  zk_concurrency.held:
    - name: {{ zk.pool }}
    - profile: super
    - timeout: {{ zk.timeout }}

all are in sync:
  zk_ensemble.synced:
    - profile: super
    - timeout: {{ zk.timeout }}
    - require:
      - zk_concurrency: one at a time

zookeeper is restarted:
  cmd.run:
    - name: {{ zk.restart }}
    - require:
      - zk_ensemble: all are in sync

# The slot is given back once the server is in sync again, and not as soon as the command has ended.
all are in sync again:
  zk_ensemble.synced:
    - profile: super
    - timeout: {{ zk.timeout }}
    - require:
      - cmd: zookeeper is restarted
