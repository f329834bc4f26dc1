-- Whose call a hold is for, beside its request: what is known of the call when it is granted, as JSON. Its
-- record says that too where the process that made it did not live to tell the end.
ALTER TABLE holds ADD COLUMN about TEXT;

-- Of an entry that says its cost alone: which provider that is owed to. Entries from before do not say it.
ALTER TABLE entries ADD COLUMN provider TEXT;
