-- Calls on their way with a credential that was deleted, told to the other processes like changes.

ALTER TABLE changes DROP CONSTRAINT changes_what_check;
ALTER TABLE changes ADD CONSTRAINT changes_what_check CHECK
  (what IN ('tenant', 'project', 'token', 'service_token', 'ip_entries', 'maintenance',
    'cut_token', 'cut_project', 'cut_tenant', 'credential', 'budget', 'cut_credential'));

-- Fields that a credential sets on calls.
ALTER TABLE credentials ADD COLUMN headers TEXT NOT NULL DEFAULT '{}';
