def remove_nodes(state, facts): pass
def can_run(s): pass
