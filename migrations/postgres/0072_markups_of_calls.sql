-- The factor of a call that is charged more than its upstream asks, as `11/10`: evidence of what the
-- upstream asked that comes later is charged by it. Records from before do not say it.
ALTER TABLE usage_records ADD COLUMN markup TEXT;

-- What the upstream of a call may ask at most, where its payer's bound is another amount.
ALTER TABLE holds ADD COLUMN owed BIGINT;
