-- A request may be tried on two nodes at once: of one attempt it can now be said that another node was first.
alter table attempts drop constraint attempts_outcome_check1;
alter table attempts add constraint attempts_outcome_check check (outcome in ('completed', 'cut_short', 'cancelled',
    'refused', 'client_left', 'node_failed', 'key_revoked', 'gateway_failed', 'outdone'));
