import Glibc
import KafkaPrimitives
import Synchronization

/// A data folder as DescribeLogDirs tells of it.
package struct FolderDescription: Sendable {
    package struct Replica: Sendable {
        package var partition: TopicPartition
        /// Bytes of the log's segments.
        package var size: Int64
        /// For a copy that is being made: by how many offsets it is behind. Otherwise 0.
        package var lag: Int64
        /// A copy that is to take the place of the replica in another folder.
        package var isFuture: Bool
    }

    /// Absolute.
    package var path: String
    package var isOnline: Bool
    /// It gets no new partitions.
    package var isCordoned = false
    /// Of the file system; -1 where it is not known.
    package var totalBytes: Int64 = -1
    package var usableBytes: Int64 = -1
    package var replicas: [Replica] = []
}

extension LogManager {
    /// Every data folder and what is in it. Blocks.
    /// - Parameter wanted: which partitions are told of.
    package func describeFolders(where wanted: (TopicPartition) -> Bool) -> [FolderDescription] {
        let entries = self.state.withLock { Array($0.logs.values) }
        let cordoned = self.cordoned.withLock { $0 }
        var folders = self.directories.enumerated().map { index, directory in
            var folder = FolderDescription(path: directory.absolutePath, isOnline: directory.isOnline)
            folder.isCordoned = cordoned.contains(index)
            if directory.isOnline, let space = try? FileSystem.space(of: directory.path) {
                (folder.totalBytes, folder.usableBytes) = (space.total, space.usable)
            }
            return folder
        }
        for (log, index) in entries where wanted(log.topicPartition) && folders[index].isOnline {
            folders[index].replicas.append(
                FolderDescription.Replica(
                    partition: log.topicPartition, size: log.sizeInBytes, lag: 0, isFuture: false))
        }
        for move in self.moves where wanted(move.partition) && folders[move.target].isOnline {
            let progress = move.progress
            folders[move.target].replicas.append(
                FolderDescription.Replica(
                    partition: move.partition, size: progress.bytes,
                    lag: max(0, move.log.logEndOffset - progress.offset), isFuture: true))
        }
        return folders
    }

    /// The index of a data folder, by the path that the configuration or DescribeLogDirs has.
    /// Other folders that get no new partitions. What is in them stays (KIP-1066).
    package func cordon(_ paths: [String]) {
        let indexes = Set(paths.compactMap { self.folderIndex(path: $0) })
        self.cordoned.withLock { $0 = indexes }
    }

    package func folderIndex(path: String) -> Int? {
        let path = LogDirectory.withoutTrailingSlash(path)
        return self.directories.firstIndex {
            $0.absolutePath == path || LogDirectory.withoutTrailingSlash($0.path) == path
        }
    }
}

extension LogDirectory {
    static func withoutTrailingSlash(_ path: String) -> String {
        var path = path[...]
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        return String(path)
    }

    /// As Java's `getAbsolutePath`: links are not followed.
    static func absolute(_ path: String) -> String {
        let path = self.withoutTrailingSlash(path)
        guard !path.hasPrefix("/"), let current = getcwd(nil, 0) else { return path }
        defer { free(current) }
        let relative = path.hasPrefix("./") ? String(path.dropFirst(2)) : path
        return String(cString: current) + "/" + relative
    }
}
