-- Each receiver has turns of its own, so that one who hangs holds up no other, and the oldest rows are
-- found when there are too many.
DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (receiver, next_at, event_id);
CREATE INDEX outbox_age ON outbox (created_at);
