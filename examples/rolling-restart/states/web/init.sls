# Restart the web service, at most `max_concurrency` hosts at a time.
{%- set web = salt['config.get']('web', merge='recurse') %}

# What takes time and hurts nobody comes before the slot.
web-service:
  file.managed:
    - name: {{ web.home }}/web-service
    - source: salt://web/web-service
    - mode: '0755'
    - makedirs: true

# A slot, from here to the end of the run, however that ends.
web slot:
  zk_concurrency.held:
    - name: {{ web.pool }}
    - profile: restart
    - max_concurrency: {{ web.max_concurrency }}
    - timeout: {{ web.timeout }}
    - keep_on_failure: {{ web.keep_on_failure }}
    - require:
      - file: web-service

web restarted:
  cmd.run:
    - name: {{ web.home }}/web-service restart
    - env:
      - WEB_NAME: {{ grains['id'] }}
      - WEB_JOURNAL: {{ web.journal }}
    - require:
      - zk_concurrency: web slot

# A host gives its slot back once it serves again, and not as soon as the command has ended.
web serves:
  cmd.run:
    - name: {{ web.home }}/web-service status
    - require:
      - cmd: web restarted
