# The ensemble has exactly these members. On one host, whichever: it adds first, one at a time, and removes then.
{%- set zk = salt['config.get']('zk', merge='recurse') %}
these members:
  zk_ensemble.members:
    - profile: super
    - timeout: {{ zk.timeout }}
    - members: {{ zk.members | json }}
    # A server that has just been started is not ready to join yet.
    - retry:
        attempts: 10
        interval: 3
