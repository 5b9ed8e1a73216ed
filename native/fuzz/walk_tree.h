// Uses everything that a TreeView offers, as its readers do, and holds the answers against each other. For the fuzz
// target and for the test that compares this reader with the one in TypeScript.
//
// Ownership: borrows. Errors: what does not hold together ends the process, as a broken assertion does.
#pragma once

#include <string>

#include "../tree_view.h"

namespace peel {

// Walks every name once. Returns one line for each, if `lines` is wanted: path, ino and attributes, tab-separated,
// bytes outside of printable ASCII as \xNN.
void WalkTree(const TreeView& tree, std::string* lines);

}  // namespace peel
