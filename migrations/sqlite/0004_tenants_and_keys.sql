-- Tenants that can be suspended or deleted; management keys with scopes, addresses and rotation.
-- After a rotation the key's text before holds until its end.

ALTER TABLE tenants ADD COLUMN status TEXT NOT NULL DEFAULT 'active'
  CHECK (status IN ('active', 'suspended', 'deleted'));

CREATE INDEX tenants_by_age ON tenants (created_at, id);

ALTER TABLE management_keys ADD COLUMN scopes TEXT;
ALTER TABLE management_keys ADD COLUMN allowed_ips TEXT NOT NULL DEFAULT '[]';
ALTER TABLE management_keys ADD COLUMN created_by TEXT;
ALTER TABLE management_keys ADD COLUMN rotated_at INTEGER;
ALTER TABLE management_keys ADD COLUMN previous_digest BLOB
  CHECK (length(previous_digest) = 32);
ALTER TABLE management_keys ADD COLUMN previous_ends_at INTEGER;
ALTER TABLE management_keys ADD COLUMN revoked_at INTEGER;
ALTER TABLE management_keys ADD COLUMN last_used_ip TEXT;

CREATE INDEX management_keys_by_age ON management_keys (created_at, id);
CREATE INDEX management_keys_before ON management_keys (previous_digest)
  WHERE previous_digest IS NOT NULL;
