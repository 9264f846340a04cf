# Migrate the database: exactly one host does, and the others find it done.
{%- set deploy = salt['config.get']('deploy', merge='recurse') %}

{%- for script in ('migrate', 'database') %}
{{ script }} script:
  file.managed:
    - name: {{ deploy.home }}/{{ script }}
    - source: salt://deploy/{{ script }}
    - mode: '0755'
    - makedirs: true
{%- endfor %}

# The lease, from here to the end of the run. The fencing token goes into a file for whoever acts under it.
only one migrates:
  zk_lease.held:
    - name: {{ deploy.lease }}
    - profile: deploy
    - duration: {{ deploy.duration }}
    - timeout: {{ deploy.timeout }}
    - token_file: {{ deploy.home }}/token
    - require:
      - file: migrate script
      - file: database script

migrated:
  cmd.run:
    - name: {{ deploy.home }}/migrate
    - env:
      - DEPLOY_HOST: {{ grains['id'] }}
      - DEPLOY_DATABASE: {{ deploy.database }}
    - unless: {{ deploy.home }}/database {{ deploy.database }} is-migrated
    - require:
      - zk_lease: only one migrates
