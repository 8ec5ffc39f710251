// Package audit writes logs that nobody can change without being noticed, and
// verifies them.
//
// A log is a file of one JSON object a line, the one behind the other. Each has a
// number, the hash of the line before it, and at its end its own hash: SHA-256 over
// all of the line in front of the member "hash". Whoever changes, removes or inserts
// a line has to make all later ones anew. He cannot do that for those that a
// checkpoint covers: every minute in which something was written, and at the end, a
// line is signed with Ed25519, and with it all that lead to it.
//
// What was cut off behind a checkpoint cannot be seen from the file alone. The log
// tells its checkpoints to [Config.Remember], so that they are kept elsewhere, and
// [Verify] takes one to look for.
//
// A process that dies while it writes leaves a line without an end. The next one ends
// it and writes behind it what it has found, as an entry "torn" with the length and
// hash of the remains; nothing is taken away. One file is written by one process;
// several processes have a file each, and every line names its node.
package audit
