-- When what is sealed was sealed last; not known of what an earlier version sealed.

ALTER TABLE meta ADD COLUMN sealed_at INTEGER;
