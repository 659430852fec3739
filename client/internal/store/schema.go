package store

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/starling-swarm/starling/internal/fault"
)

// schemaVersion is the version of the tables below, kept in user_version. A newer one is refused.
const schemaVersion = 5

// migrations[v] leads from version v to v+1.
var migrations = []string{schema1, schema2, schema3, schema4, schema5}

const schema1 = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- One row per message. seq is the local order and the cursor of listeners, so it is never used twice.
CREATE TABLE messages (
  seq          INTEGER PRIMARY KEY AUTOINCREMENT,
  id           BLOB NOT NULL,
  sender       BLOB NOT NULL,
  conversation TEXT NOT NULL,
  mine         INTEGER NOT NULL,
  request      INTEGER NOT NULL,
  unverified   INTEGER NOT NULL,
  text         TEXT NOT NULL,
  body         BLOB NOT NULL,     -- as it came, for readers that know more kinds
  sent_at      INTEGER NOT NULL,
  received_at  INTEGER NOT NULL,
  edited       INTEGER NOT NULL DEFAULT 0,
  deleted      INTEGER NOT NULL DEFAULT 0,
  reply_to     BLOB,
  handed_out   INTEGER NOT NULL DEFAULT 0,
  state        INTEGER NOT NULL,
  cause        TEXT NOT NULL DEFAULT '',
  stored_at    INTEGER NOT NULL DEFAULT 0,
  delivered_at INTEGER NOT NULL DEFAULT 0,
  read_at      INTEGER NOT NULL DEFAULT 0,
  path         BLOB,
  replicas     INTEGER NOT NULL DEFAULT 0,
  mailbox_seq  INTEGER NOT NULL DEFAULT 0,  -- of messages of others: sequence number in the own mailbox, which all devices share
  expires_at   INTEGER NOT NULL DEFAULT 0,  -- when it disappears; 0: never, or not known yet
  expire_after INTEGER NOT NULL DEFAULT 0,  -- seconds from when it is read until it disappears; 0: not by reading
  UNIQUE (id, sender)
);
CREATE INDEX messages_by_conversation ON messages (conversation, seq);
CREATE INDEX messages_of_strangers ON messages (sender) WHERE request = 1;
CREATE INDEX messages_to_hand_out ON messages (seq) WHERE mine = 0 AND handed_out = 0;
CREATE INDEX messages_by_mailbox ON messages (conversation, mailbox_seq) WHERE mine = 0;
CREATE INDEX messages_that_expire ON messages (expires_at) WHERE expires_at > 0;

CREATE VIRTUAL TABLE messages_text USING fts5 (text, content = 'messages', content_rowid = 'seq', tokenize = 'unicode61 remove_diacritics 2');
CREATE TRIGGER messages_text_insert AFTER INSERT ON messages BEGIN
  INSERT INTO messages_text (rowid, text) VALUES (new.seq, new.text);
END;
CREATE TRIGGER messages_text_update AFTER UPDATE OF text ON messages BEGIN
  INSERT INTO messages_text (messages_text, rowid, text) VALUES ('delete', old.seq, old.text);
  INSERT INTO messages_text (rowid, text) VALUES (new.seq, new.text);
END;
CREATE TRIGGER messages_text_delete AFTER DELETE ON messages BEGIN
  INSERT INTO messages_text (messages_text, rowid, text) VALUES ('delete', old.seq, old.text);
END;

-- What changes a message, whether the message has come or not. The newest change counts, by (at, change).
CREATE TABLE reactions (
  message BLOB NOT NULL, author BLOB NOT NULL, sender BLOB NOT NULL, emoji TEXT NOT NULL,
  conversation TEXT NOT NULL, at INTEGER NOT NULL, change BLOB NOT NULL, removed INTEGER NOT NULL,
  PRIMARY KEY (message, author, sender, emoji)
) WITHOUT ROWID;
CREATE TABLE changes (
  message BLOB NOT NULL, author BLOB NOT NULL, kind INTEGER NOT NULL,
  conversation TEXT NOT NULL, at INTEGER NOT NULL, change BLOB NOT NULL, body BLOB NOT NULL, noted INTEGER NOT NULL,
  PRIMARY KEY (message, author, kind)
) WITHOUT ROWID;
CREATE TABLE drafts (conversation TEXT PRIMARY KEY, text TEXT NOT NULL, changed_at INTEGER NOT NULL) WITHOUT ROWID;

-- What was received, to recognise replays and doubles.
CREATE TABLE seen (sender BLOB NOT NULL, id BLOB NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (sender, id)) WITHOUT ROWID;

-- What has to reach a mailbox. A leg goes when it is acknowledged.
CREATE TABLE outbox (
  leg       INTEGER PRIMARY KEY AUTOINCREMENT,
  kind      INTEGER NOT NULL,
  peer      BLOB NOT NULL,       -- account whose mailbox it is
  message   BLOB NOT NULL,       -- the message it belongs to
  sent_at   INTEGER NOT NULL,
  body      BLOB NOT NULL,
  sealed    BLOB,                -- what is retried byte for byte; NULL: to be sealed (again)
  certs     INTEGER NOT NULL DEFAULT 0,
  due       INTEGER NOT NULL,    -- not before; Unix milliseconds
  attempts  INTEGER NOT NULL DEFAULT 0
);

-- What is known of other accounts. Approval, names and the like live in the contacts document; approved repeats it.
CREATE TABLE peers (
  account    BLOB PRIMARY KEY,
  approved   INTEGER NOT NULL DEFAULT 0,
  named      INTEGER NOT NULL DEFAULT 0,  -- an own device wrote to them
  name       TEXT NOT NULL DEFAULT '',
  name_at    INTEGER NOT NULL DEFAULT 0,
  chain      BLOB,                        -- pinned certificates
  certs_head INTEGER NOT NULL DEFAULT 0,  -- sequence number of the newest certificate in their mailbox
  knows_g    INTEGER NOT NULL DEFAULT 0,  -- the newest generation of ours that they have shown to know
  floor_g    INTEGER NOT NULL DEFAULT 0,  -- the highest day key used towards them
  floor_day  INTEGER NOT NULL DEFAULT 0,
  record     BLOB,                        -- newest day record
  told_at    INTEGER NOT NULL DEFAULT 0,  -- the change of our profile that they were told last
  before     BLOB,                        -- what was pinned before their last recovery: a contest may come from there
  contested_at INTEGER NOT NULL DEFAULT 0 -- when their last recovery was contested; 0: it was not
) WITHOUT ROWID;
CREATE TABLE peer_events (account BLOB NOT NULL, kind TEXT NOT NULL, g INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (account, kind, g)) WITHOUT ROWID;

-- Rows of the sync documents (package devicesync), and the deltas in the mailbox that no snapshot contains yet.
CREATE TABLE documents (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE deltas (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, size INTEGER NOT NULL, stored_at INTEGER NOT NULL);

-- Envelopes whose sender could not be verified yet.
CREATE TABLE unverified (seq INTEGER PRIMARY KEY, sender BLOB NOT NULL, envelope BLOB NOT NULL);

-- Accounts whose certificates are to be read again, with the contest that came for a recovery not known yet.
CREATE TABLE looks (account BLOB PRIMARY KEY, contest BLOB, stored_at INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;

CREATE TABLE device_events (n INTEGER PRIMARY KEY, kind TEXT NOT NULL, device BLOB NOT NULL, at INTEGER NOT NULL, by BLOB, UNIQUE (kind, device, at));
CREATE TABLE links (device BLOB PRIMARY KEY, code TEXT NOT NULL, label TEXT NOT NULL, asked_at INTEGER NOT NULL, request BLOB NOT NULL) WITHOUT ROWID;

-- Histories on their way to devices that joined, and from other devices. Messages from a history go below all that came
-- here, so there is room for them below the first.
INSERT INTO sqlite_sequence (name, seq) VALUES ('messages', 4294967296);
CREATE TABLE history_out (device BLOB PRIMARY KEY, manifest BLOB NOT NULL, stage INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE history_chunks (
  device BLOB NOT NULL, n INTEGER NOT NULL, refs BLOB NOT NULL, messages INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (device, n)
) WITHOUT ROWID;
CREATE TABLE history_in (
  transfer BLOB PRIMARY KEY, manifest BLOB NOT NULL, told_at INTEGER NOT NULL, stage INTEGER NOT NULL DEFAULT 0, cursor INTEGER NOT NULL DEFAULT 0,
  floor INTEGER NOT NULL DEFAULT 0, messages INTEGER NOT NULL DEFAULT 0, have BLOB NOT NULL DEFAULT x'', chunks INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
`

// schema2 adds closed groups.
const schema2 = `
-- What is known of closed groups.
CREATE TABLE closed_groups (
  id           BLOB PRIMARY KEY,
  status       TEXT NOT NULL,
  since        INTEGER NOT NULL,
  name         TEXT NOT NULL,
  cursor       INTEGER NOT NULL,   -- of log, messages and notices in the group's mailbox
  head_seq     INTEGER NOT NULL,   -- of the newest commit that was taken in
  admin_cursor INTEGER NOT NULL,   -- of leaves and requests
  invitation   BLOB,
  keys         BLOB,               -- of a join under way
  request      BLOB,               -- as it is stored for the admins
  asked        INTEGER NOT NULL,   -- it was acknowledged
  past         INTEGER NOT NULL,   -- generation that left this account out
  leaving      INTEGER NOT NULL,
  warning      TEXT NOT NULL
) WITHOUT ROWID;

-- The secret states of package groups. They can be large and change with commits only, so they lie apart from the cursors.
CREATE TABLE group_states (grp BLOB PRIMARY KEY, state BLOB NOT NULL);

-- What this device wants to change. tried is the hash of the commit that may have gone out for it.
CREATE TABLE group_changes (
  n INTEGER PRIMARY KEY AUTOINCREMENT, grp BLOB NOT NULL, want BLOB NOT NULL, since INTEGER NOT NULL,
  tried BLOB NOT NULL DEFAULT x'', cause TEXT NOT NULL DEFAULT ''
);

-- What others ask the admins for.
CREATE TABLE group_asks (
  n INTEGER PRIMARY KEY AUTOINCREMENT, grp BLOB NOT NULL, kind TEXT NOT NULL, account BLOB NOT NULL, body BLOB NOT NULL, at INTEGER NOT NULL,
  held INTEGER NOT NULL, UNIQUE (grp, kind, body)
);

-- What this device has to do of itself when its time has come; what it can enter groups with; and for whose keys their
-- accounts answer.
CREATE TABLE group_errands (grp BLOB NOT NULL, kind TEXT NOT NULL, due INTEGER NOT NULL, note BLOB NOT NULL, PRIMARY KEY (grp, kind)) WITHOUT ROWID;
CREATE TABLE group_handovers (n INTEGER PRIMARY KEY AUTOINCREMENT, grp BLOB NOT NULL, welcome INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE group_vouches (grp BLOB NOT NULL, account BLOB NOT NULL, joined INTEGER NOT NULL, good INTEGER NOT NULL, PRIMARY KEY (grp, account, joined)) WITHOUT ROWID;

-- Seeds of the invitations that this device made.
CREATE TABLE group_links (grp BLOB NOT NULL, serial INTEGER NOT NULL, seed BLOB NOT NULL, PRIMARY KEY (grp, serial)) WITHOUT ROWID;
`

// schema3 adds what conversations in groups need.
const schema3 = `
ALTER TABLE messages ADD COLUMN envelope BLOB;                         -- hash of the envelope in the group's mailbox, for moderators
ALTER TABLE messages ADD COLUMN notice INTEGER NOT NULL DEFAULT 0;     -- made on this device of the group's log
ALTER TABLE messages ADD COLUMN mentioned INTEGER NOT NULL DEFAULT 0;  -- the text names this account
CREATE INDEX messages_in_groups ON messages (conversation, mailbox_seq = 0, mailbox_seq, seq) WHERE conversation >= '03' AND conversation < '04';
`

// schema4 adds what the text of a group's link is made of besides the seed, once what it leads to is stored.
const schema4 = `ALTER TABLE group_links ADD COLUMN pin BLOB;`

// schema5 adds what an attempt to come into a group met.
const schema5 = `ALTER TABLE closed_groups ADD COLUMN cause TEXT NOT NULL DEFAULT '';`

func (db *DB) migrate() error {
	var version int
	err := db.View(func(tx *Tx) error {
		tx.Query("PRAGMA user_version", nil, func(s *sqlite3.Stmt) bool {
			version = s.ColumnInt(0)
			return true
		})
		return nil
	})
	if err != nil {
		return err
	}
	if version > schemaVersion {
		return fault.New(fault.Invalid, "open store", "format %d is newer than this program, which knows %d",
			version, schemaVersion)
	}
	for v := version; v < schemaVersion; v++ {
		script := "BEGIN IMMEDIATE;" + migrations[v] + "PRAGMA user_version=" + string(rune('0'+v+1)) +
			";COMMIT;"
		if err := db.conn.Exec(script); err != nil {
			db.conn.Exec("ROLLBACK")
			return classify("open store", err)
		}
	}
	return nil
}
