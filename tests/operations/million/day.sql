-- The requests of one day, as gateways would have left them: `day` days after the beginning.

create temp table asked as
    select pg_temp.id_at(at) as id, at, customer, outcome, prompt, completion, draw,
        (select id from used_keys k where k.customer = drawn.customer and k.number = least(key, 5)) as key,
        (select name from used_models m where m.number = drawn.model) as model,
        case when outcome not in ('refused', 'no_node') then (select id from used_nodes n where n.number = drawn.node) end as node,
        case when outcome not in ('refused', 'no_node') and retry < 0.03
            then (select id from used_nodes n where n.number = (drawn.node + 1) % 8) end as lost_node
    from (
        select at, draw, retry, prompt, completion,
            case when customer < 0.8 then 0 else 1 + floor(customer * 1000)::integer % 9 end as customer,
            case when key < 0.0001 then 5 else floor(5 * key * key)::integer end as key,
            case when model < 0.0001 then 3 when model < 0.6 then 0 when model < 0.9 then 1 else 2 end as model,
            floor(8 * node)::integer as node,
            case when draw < 0.94 then 'completed' when draw < 0.96 then 'client_left' when draw < 0.975 then 'cut_short'
                when draw < 0.985 then 'refused' when draw < 0.992 then 'node_failed' when draw < 0.997 then 'no_node'
                when draw < 0.9989 then 'cancelled' when draw < 0.9999 then 'key_revoked' else 'gateway_failed' end as outcome
        from (
            select now() - make_interval(days => :days) + make_interval(days => :day)
                    + interval '1 day' * (number - 1) / ceil(:requests * 1.25 / :days) as at,
                random() as customer, random() as key, random() as model, random() as node, random() as draw,
                random() as retry, 20 + floor(1500 * random() * random())::bigint as prompt,
                1 + floor(500 * random())::bigint as completion
            from generate_series(1, ceil(:requests * 1.25 / :days)::integer) as number offset 0) as random) as drawn;

create temp table costing as
    select a.*, used.account, used.owner, n.operator, p.version,
        case when outcome in ('refused', 'no_node') then 0 else prompt end as prompt_tokens,
        case when outcome in ('refused', 'no_node') then 0 else completion end as completion_tokens,
        case when outcome in ('completed', 'client_left', 'cut_short', 'cancelled', 'key_revoked')
            then prompt * 100 + completion * 400 else 0 end as nanocredits,
        case when node is null then 0 else (prompt + 8 * completion) * 60000 end as microjoules
    from asked a join customers used on used.number = a.customer left join used_nodes n on n.id = a.node
        left join priced p on p.node_id = a.node;

insert into requests (id, account_id, user_id, key_id, endpoint, model, streamed, outcome, status, node_id, prompt_tokens,
    cached_tokens, completion_tokens, nanocredits, price_version, microjoules, low_microjoules, high_microjoules, energy_tier,
    energy_boundary, energy_method, replica_id, started_at, first_byte_microseconds, duration_microseconds)
select id, account, owner, key, 'chat.completions', model, draw < 0.5, outcome,
    case outcome when 'refused' then 400 when 'no_node' then 503 when 'node_failed' then 502 when 'gateway_failed' then 500
        when 'client_left' then 499 when 'key_revoked' then 401 else 200 end,
    node, prompt_tokens, prompt_tokens / 4, completion_tokens, nanocredits, version, microjoules, microjoules * 9 / 10,
    microjoules * 11 / 10, case when node is not null then 'C' end, case when node is not null then 'node-dc' end,
    case when node is not null then 'step-shapley/1' end, account, at, case when node is not null then 180000 end,
    200000 + completion_tokens * 20000
from costing;

insert into attempts (request_id, attempt, node_id, outcome, choice, prompt_tokens, completion_tokens, overclaimed_tokens,
    microjoules, duration_microseconds)
select id, 1, lost_node, 'node_failed', 'load: 0 % of its slots', prompt_tokens, 1, 0, 70000, 400000
    from costing where lost_node is not null
union all
select id, case when lost_node is null then 1 else 2 end, node, outcome, 'load: 0 % of its slots', prompt_tokens,
    completion_tokens, 0, microjoules, 200000 + completion_tokens * 20000 from costing where node is not null;

insert into request_energy (request_id, attempt, node_id, delivered, microjoules, low_microjoules, high_microjoules,
    marginal_microjoules, prefill_microjoules, idle_microjoules, tier, boundary, method, status, believed, grid_zone,
    grid_mg_per_kwh, grid_source, grid_basis, pue_milli)
select id, 1, lost_node, false, 70000, 60000, 80000, 60000, 70000, 0, 'C', 'node-dc', 'step-shapley/1', 'final', true, 'DE',
    363000, 'made up', 'location', 1100 from costing where lost_node is not null
union all
select id, case when lost_node is null then 1 else 2 end, node, true, microjoules, microjoules * 9 / 10,
    microjoules * 11 / 10, microjoules / 2, prompt_tokens * 60000, microjoules / 5, 'C', 'node-dc', 'step-shapley/1',
    'final', true, 'DE', 363000, 'made up', 'location', 1100 from costing where node is not null;

create temp table settled as select pg_temp.id_at(at + interval '1 second') as event, * from costing where nanocredits > 0;
insert into events (id, kind, idempotency_key, request_id, split_version, created_at)
    select event, 'settlement', id::text, id, 1, at + interval '1 second' from settled;
insert into postings
    select event, seq, part.account, part.nanocredits from settled, lateral (values
        (1, 'customer:' || settled.account, -nanocredits),
        (2, 'operator:' || operator, nanocredits * 85 / 100),
        (3, 'author:made up', nanocredits * 5 / 100),
        (4, 'gateway', nanocredits - nanocredits * 85 / 100 - nanocredits * 5 / 100 - nanocredits * 2 / 100),
        (5, 'audit_fund', nanocredits * 2 / 100)) as part (seq, account, nanocredits);

drop table asked, costing, settled;
