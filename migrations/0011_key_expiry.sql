-- Keys that end by themselves, and keys that another one takes over from.

alter table keys
    -- refuses new requests from then on; null: never
    add column expires_at timestamptz,
    -- the key that was made from this one, which goes on until it expires
    add column replaced_by uuid references keys;

drop trigger keys_announce on keys;
create trigger keys_announce after update of revoked_at, expires_at on keys
    for each row when (old.revoked_at is distinct from new.revoked_at or old.expires_at is distinct from new.expires_at)
    execute function announce_key();
