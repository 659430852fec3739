// Package history holds the bytes in which a live device hands what it has (messages, what it knows of
// people) to a device that joined the account: the manifest, which travels sealed between own devices, and
// chunks of records, which lie in a one-time mailbox under a key that only the manifest gives.
//
// A sender makes a Manifest, fills a Packer with records until it is full, and seals each body as a chunk:
//
//	p := history.NewPacker(history.ChunkTarget)
//	p.Message(&m) // false: full
//	body, err := m.Seal(rand.Reader, account, index, last, p.Bytes())
//
// A reader opens chunks with the same Manifest and walks over the records with Read. The package is pure:
// randomness is an argument. Layouts: docs/formats.md, section 7.5.
package history
