-- Of a credential: where its calls go instead of to its provider's own place and by which proxy, each
-- with who gave it; the word in front of a model by which callers ask for it; how much it bears.
ALTER TABLE credentials ADD COLUMN base_url TEXT;
ALTER TABLE credentials ADD COLUMN egress_proxy TEXT;
ALTER TABLE credentials ADD COLUMN prefix TEXT;
ALTER TABLE credentials ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
-- The credentials that a project may use. None: all that it could.
ALTER TABLE projects ADD COLUMN allowed_credentials TEXT;
-- The person whose key it is: it may do no more than they may, and ends with them.
ALTER TABLE management_keys ADD COLUMN operator_id TEXT COLLATE "C" REFERENCES operators (id) ON DELETE CASCADE;
CREATE INDEX management_keys_of_operator ON management_keys (operator_id) WHERE operator_id IS NOT NULL;
