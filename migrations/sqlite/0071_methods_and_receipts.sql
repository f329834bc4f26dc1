-- With which method a call came. Records from before do not say it.
ALTER TABLE usage_records ADD COLUMN method TEXT;

-- Of a call that has a receipt: its chain, and its place there. Where the cost was put right after a first
-- receipt, those of the one that says so. Receipts from before are not named by their records.
ALTER TABLE usage_records ADD COLUMN receipt_chain TEXT;
ALTER TABLE usage_records ADD COLUMN receipt_seq INTEGER;
