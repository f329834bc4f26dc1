-- What is written of each call is less: an entry of what it costs says the cost alone, and its two
-- postings follow from that. Other entries have their postings as rows.
ALTER TABLE entries ADD COLUMN cost INTEGER CHECK (cost > 0);

-- Such an entry is there once because the usage record it is of is: it needs no place in an index of ids.
DROP INDEX entries_id_key;
CREATE UNIQUE INDEX entries_id_key ON entries (id) WHERE cost IS NULL;

-- Movements are looked up by account for payers alone; those of every call need no place in an index.
DROP INDEX postings_of_account;
CREATE INDEX postings_of_account ON postings (account, entry)
  WHERE substr(account, 1, 7) = 'credit:';
