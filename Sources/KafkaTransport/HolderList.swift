/// Connections in the order of their last progress.
struct HolderList {
    private(set) var first: Connection?
    private unowned(unsafe) var last: Connection?

    mutating func append(_ connection: Connection) {
        connection.previousHolder = last
        connection.nextHolder = nil
        if let last { last.nextHolder = connection } else { first = connection }
        last = connection
    }

    mutating func remove(_ connection: Connection) {
        let next = connection.nextHolder
        let previous = connection.previousHolder
        if let previous { previous.nextHolder = next } else { first = next }
        if let next { next.previousHolder = previous } else { last = previous }
        connection.nextHolder = nil
        connection.previousHolder = nil
    }
}
