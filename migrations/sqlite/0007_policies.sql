-- Policies on calls, and what else tenants, projects and tokens carry. A deleted project stays as a
-- record: no call, no list and no name finds it.

ALTER TABLE tenants ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE tenants ADD COLUMN policy TEXT;
ALTER TABLE tenants ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';

ALTER TABLE projects ADD COLUMN policy TEXT;
ALTER TABLE projects ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
ALTER TABLE projects ADD COLUMN deleted_at INTEGER;

ALTER TABLE tokens ADD COLUMN policy TEXT;
ALTER TABLE tokens ADD COLUMN permissions TEXT NOT NULL DEFAULT '[]';
