-- Fields that a credential sets on calls. Of calls that were cut nobody is told: nobody shares this
-- file.
ALTER TABLE credentials ADD COLUMN headers TEXT NOT NULL DEFAULT '{}';
