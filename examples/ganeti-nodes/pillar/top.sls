base:
  'node*':
    - nodes
