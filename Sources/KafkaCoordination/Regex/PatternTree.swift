/// A parsed pattern: nodes that name their parts by number. Each was checked against the limits when it was made.
struct PatternTree {
    enum Assertion: Sendable { case begin, end, wordBoundary, noWordBoundary }

    enum Content {
        /// One character of the set.
        case set(ASCIISet)
        case assertion(Assertion)
        case sequence([Int])
        case choice([Int])
        /// `most` is nil where there is no limit.
        case repetition(of: Int, least: Int, most: Int?)
    }

    private struct Node {
        var content: Content
        var instructions: Int
        /// The product of nested repetitions.
        var repetitions: Int
        var depth: Int
    }

    private var nodes: [Node] = []
    var root = 0

    subscript(node: Int) -> Content { self.nodes[node].content }

    /// How many instructions a node becomes.
    func instructions(_ node: Int) -> Int { self.nodes[node].instructions }

    /// Nil if it is too large.
    mutating func add(_ content: Content) -> Int? {
        var node = Node(content: content, instructions: 1, repetitions: 1, depth: 1)
        switch content {
        case .set, .assertion: break
        case .sequence(let parts):
            // The parts of a sequence or choice each have their own place in the pattern: no overflow.
            node.instructions = parts.reduce(0) { $0 + self.nodes[$1].instructions }
            self.inherit(parts, &node)
        case .choice(let parts):
            node.instructions = parts.reduce(0) { $0 + self.nodes[$1].instructions } + 2 * (parts.count - 1)
            self.inherit(parts, &node)
        case .repetition(let part, let least, let most):
            let size = self.nodes[part].instructions
            self.inherit([part], &node)
            node.repetitions *= max(most ?? least, 1)
            if let most {
                node.instructions = least * size + (most - least) * (size + 1)
            } else {
                node.instructions = max(least, 1) * size + 2
            }
        }
        guard node.instructions <= SubscriptionPattern.Limits.instructions,
            node.depth <= SubscriptionPattern.Limits.depth,
            node.repetitions <= SubscriptionPattern.Limits.repetitions
        else { return nil }
        self.nodes.append(node)
        return self.nodes.count - 1
    }

    private func inherit(_ parts: [Int], _ node: inout Node) {
        for part in parts {
            node.repetitions = max(node.repetitions, self.nodes[part].repetitions)
            node.depth = max(node.depth, self.nodes[part].depth + 1)
        }
    }
}
