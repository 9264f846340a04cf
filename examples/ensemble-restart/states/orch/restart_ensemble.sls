# salt-run state.orchestrate orch.restart_ensemble
#
# Observers, then followers, and the leader last, so that there is one election. A host whose restart fails ends it: the
# rest of the ensemble is as it was.
{%- set minions = salt['pillar.get']('zk:minions') %}
{%- set order = salt['saltutil.runner']('zk_ensemble.restart_order', profile='super') %}
{%- for server in order %}
restart server.{{ server.id }}:
  salt.state:
    - tgt: {{ minions[server.id] }}
    - sls: zookeeper.restart
    - failhard: true
{%- endfor %}

how it is now:
  salt.runner:
    - name: zk_ensemble.doctor
    - profile: super
