/// How many letters must be put in, left out, changed or swapped with their neighbour to make one text of the other.
func editDistance(_ left: String, _ right: String) -> Int {
    let (left, right) = (Array(left.utf8), Array(right.utf8))
    if left.isEmpty || right.isEmpty { return max(left.count, right.count) }
    var before: [Int] = []
    var previous = Array(0...right.count)
    for row in 1...left.count {
        var current = [row]
        for column in 1...right.count {
            let same = left[row - 1] == right[column - 1]
            var cost = min(previous[column] + 1, current[column - 1] + 1, previous[column - 1] + (same ? 0 : 1))
            if row > 1, column > 1, left[row - 1] == right[column - 2], left[row - 2] == right[column - 1] {
                cost = min(cost, before[column - 2] + 1)
            }
            current.append(cost)
        }
        before = previous
        previous = current
    }
    return previous[right.count]
}

/// The nearest of `names`, unless even that has little to do with `name`.
func nearest(to name: String, among names: some Sequence<String>) -> String? {
    let best = names.map { (editDistance(name, $0), $0) }.min { $0 < $1 }
    guard let best, best.0 <= max(2, name.utf8.count / 2) else { return nil }
    return best.1
}
