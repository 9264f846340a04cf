# Update one node of a Ganeti cluster, when it is its turn and all master candidates agree.
{%- set nodes = salt['config.get']('nodes', merge='recurse') %}

# One node at a time. The slot is free again with the end of the run, also when the update has failed.
node slot:
  zk_concurrency.held:
    - name: {{ nodes.pool }}
    - profile: nodes
    - max_concurrency: 1
    - timeout: {{ nodes.timeout }}

{%- if not nodes.get('last') %}
# The orchestration updates the master after all others, and says so.
not the master:
  ganeti_confd.role_is:
    - name: {{ grains['id'] }}
    - role: [candidate, regular, drained, offline]
    - require:
      - zk_concurrency: node slot
    - require_in:
      - cmd: node updated
{%- endif %}

# Every candidate replies, and none contradicts another: nobody is cut off, and no fail-over is under way.
candidates agree:
  ganeti_confd.master_is:
    - name: {{ nodes.master }}
    - coverage: -1
    - replies: -1
    - timeout: {{ nodes.seconds }}
    - retry:
        attempts: {{ nodes.attempts }}
        interval: {{ nodes.interval }}
    - require:
      - zk_concurrency: node slot

node updated:
  cmd.run:
    - name: {{ nodes.command }}
    - env:
      - NODE: {{ grains['id'] }}
    - require:
      - ganeti_confd: candidates agree

# The next node's turn comes when this one, if it is a candidate, answers again like all others.
candidates agree again:
  ganeti_confd.master_is:
    - name: {{ nodes.master }}
    - coverage: -1
    - replies: -1
    - timeout: {{ nodes.seconds }}
    - retry:
        attempts: {{ nodes.attempts }}
        interval: {{ nodes.interval }}
    - require:
      - cmd: node updated
