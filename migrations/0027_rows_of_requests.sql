-- What a gateway hands over of a request and its tries, in rows: read from JSON, each took three times as long.
-- Newer gateways that hand over more get types of their own, beside these.

create type request_row as (
    id uuid,
    account_id uuid,
    user_id uuid,
    key_id uuid,
    endpoint text,
    model text,
    streamed boolean,
    outcome text,
    status smallint,
    node_id uuid,
    prompt_tokens bigint,
    cached_tokens bigint,
    completion_tokens bigint,
    nanocredits bigint,
    price_version bigint,
    microjoules bigint,
    low_microjoules bigint,
    high_microjoules bigint,
    energy_tier text,
    energy_boundary text,
    energy_method text,
    started_at timestamptz,
    first_byte_microseconds bigint,
    duration_microseconds bigint
);

create type grid_row as (
    zone text,
    mg_per_kwh bigint,
    source text,
    basis text
);

create type attempt_row as (
    request_id uuid,
    attempt integer,
    node_id uuid,
    outcome text,
    choice text,
    prompt_tokens bigint,
    completion_tokens bigint,
    overclaimed_tokens bigint,
    microjoules bigint,
    duration_microseconds bigint,
    -- from here on null where the node had not begun to compute
    delivered boolean,
    low_microjoules bigint,
    high_microjoules bigint,
    marginal_microjoules bigint,
    prefill_microjoules bigint,
    idle_microjoules bigint,
    tier text,
    boundary text,
    method text,
    energy_status text,
    believed boolean,
    tier_cap text,
    pue_milli integer,
    grid grid_row,
    embodied_nanograms_per_joule bigint
);
