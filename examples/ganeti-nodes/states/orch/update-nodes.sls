# salt-run state.orchestrate orch.update-nodes
#
# The minions' ids are the nodes' names in the cluster. Nothing begins if the candidates contradict each other already.
{%- set master = salt['ganeti_confd.cluster_master'](coverage=-1, replies=-1) %}

# The slot sees to it that one is updated at a time. A node that fails does not hold up the others, but the master.
update the others:
  salt.state:
    - tgt: 'node* and not {{ master }}'
    - tgt_type: compound
    - sls: nodes
    - pillar:
        nodes: {master: {{ master }}}

update the master:
  salt.state:
    - tgt: {{ master }}
    - sls: nodes
    - pillar:
        nodes: {master: {{ master }}, last: true}
    - require:
      - salt: update the others

# Also after a failure: which candidate says what?
what the candidates say:
  salt.runner:
    - name: ganeti_confd.peers
