# salt-run state.orchestrate orch.restart
#
# No `batch`: the slots see to it that two restart at a time, and one that is slow or dead does not hold up
# the rest.
restart the web servers:
  salt.state:
    - tgt: 'web*'
    - sls: web

# Also after a failure: who still has a slot then, and who is still waiting?
who holds a slot:
  salt.runner:
    - name: zk_concurrency.status
    - path: {{ pillar['web']['pool'] }}
    - profile: restart
