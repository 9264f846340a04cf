# Restart the web service if need be, when the turn of this host has come. Nothing here waits.
{%- set web = salt['config.get']('web', merge='recurse') %}

web-service:
  file.managed:
    - name: {{ web.home }}/web-service
    - source: salt://web/web-service
    - mode: '0755'
    - makedirs: true

# The rest of a highstate would be here: it is run each time, whether it is this host's turn or not.

# Asks for the lock if it is needed. Once it is granted, this host has it to the end of the run, if that succeeds.
web turn:
  zk_coordinator.acquire:
    - name: {{ web.lock }}
    - key: web
    - profile: restart
    - policy: {{ web.policy | json }}
    - reason: a restart is needed
    - guard: test -e {{ web.home }}/restart-needed
    - require:
      - file: web-service

web restarted:
  cmd.run:
    - name: {{ web.home }}/web-service restart && rm {{ web.home }}/restart-needed
    - env:
      - WEB_NAME: {{ grains['id'] }}
      - WEB_JOURNAL: {{ web.journal }}
    - onchanges:
      - zk_coordinator: web turn
