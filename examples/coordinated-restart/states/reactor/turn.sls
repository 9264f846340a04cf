# The turn of a minion has come: have it run its states, after those that it runs already.
run the states:
  local.state.apply:
    - tgt: {{ data['id'] | json }}
    - args:
      - mods: web
      - queue: true
