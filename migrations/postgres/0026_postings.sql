-- Movements are looked up by account for payers alone; those of every call need no place in an index.
DROP INDEX postings_of_account;
CREATE INDEX postings_of_account ON postings (account, entry)
  WHERE substr(account, 1, 7) = 'credit:';
