-- Who asks and who answers: the first account, nine others, keys, nodes of three operators with their prices and closed
-- days, credit for all. psql variables: `requests` of the first account, `days`, `model` of the real node.
-- Temporary tables say who is drawn how often; `days.sql` reads them.

-- The ledger is compared with itself afterwards, which is the same check for all events at once.
alter table postings disable trigger events_add_up_to_zero;
select setseed(0.5);

create function pg_temp.id_at(at timestamptz) returns uuid language sql volatile as $$
    select (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid
$$;
select create_month((now() - make_interval(days => :days))::date);

create temp table mine as
    select a.id as account, u.id as owner, n.id as node, n.offer, k.id as key from accounts a
    join members m on m.account_id = a.id join users u on u.id = m.user_id
    join nodes n on n.account_id = a.id join keys k on k.account_id = a.id and k.scope = 'inference' limit 1;

-- The first account asks four of five requests.
create temp table customers as
    select 0 as number, account, owner from mine
    union all select number, pg_temp.id_at(now()), pg_temp.id_at(now()) from generate_series(1, 9) as number;
insert into users select owner, 'customer-' || number || '@localhost', 'Customer ' || number, 'none' from customers where number > 0;
insert into accounts select account, 'Customer ' || number from customers where number > 0;
insert into members select account, owner, 'owner' from customers where number > 0;

-- Six keys of each. The sixth is hardly ever used.
create temp table used_keys as
    select customers.number as customer, each as number, pg_temp.id_at(now()) as id, account, owner
    from customers, generate_series(0, 5) as each;
insert into keys (id, public_id, account_id, created_by, name, scope, secret_hash)
    select id, 'made-up-' || customer || '-' || number, account, owner, 'key ' || number, 'inference',
        decode(md5(id::text) || md5(id::text), 'hex') from used_keys;

-- Eight nodes: three of the first account's, the others' of two operators who ask nothing.
create temp table used_nodes as
    select number, pg_temp.id_at(now()) as id, (select account from customers
        where customers.number = case when used.number < 3 then 0 else 8 + used.number % 2 end) as operator
    from generate_series(0, 7) as used (number);
insert into nodes (id, account_id, name, public_key, offer, last_seen_at)
    select id, operator, 'node ' || number, decode(md5(id::text) || md5(id::text), 'hex'), offer, now() from used_nodes, mine;
insert into prices (node_id, model, prompt_nanocredits, cached_nanocredits, completion_nanocredits, effective_from, source)
    select used_nodes.id, p.model, 100, 25, 400, now() - make_interval(days => :days), 'gateway'
    from used_nodes, mine join prices p on p.node_id = mine.node;
create temp table priced as select node_id, version from prices;
insert into node_energy (node_id, total_microjoules, attributed_microjoules, idle_microjoules, busy_microseconds, reported_at)
    select id, 9000000000000, 6000000000000, 2000000000000, 40000000000, now() from used_nodes;
insert into node_energy_days
    select id, current_date - day, 9000000000000, 6000000000000, 0, 2000000000000, 1000000000000, 40000000000, 0,
        6000000000000 from used_nodes, generate_series(1, :days) as day;

create temp table used_models (number integer, name text);
insert into used_models values (0, :'model'), (1, 'qwen3-8b-instruct'), (2, 'gpt-oss-20b'), (3, 'hardly-ever-asked');

insert into events (id, kind, idempotency_key, reason, created_at)
    select pg_temp.id_at(now() - make_interval(days => :days)), 'top_up', 'made up ' || number, 'made up',
        now() - make_interval(days => :days) from customers;
insert into postings select id, 1, 'external', -1e15 from events where reason = 'made up'
    union all select e.id, 2, 'customer:' || account, 1e15
        from customers join events e on e.idempotency_key = 'made up ' || customers.number;

insert into audit_log (id, at, user_id, account_id, act, status)
    select pg_temp.id_at(at), at, owner, account, 'POST /api/keys', 201
    from customers, generate_series(1, greatest(:requests / 1000, 1)) as each,
        lateral (select now() - make_interval(days => :days) * random() as at) as moments;
