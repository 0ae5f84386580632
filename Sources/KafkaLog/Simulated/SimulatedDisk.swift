#if OTTLA_SIMULATED_FILES
    import Glibc

    /// A machine's disk, kernel cache, clock and source of random numbers, all in memory and all from a seed.
    ///
    /// A process crash leaves the cache as it is. A power cut leaves what was synced and, as luck will have it, some of the
    /// rest. One disk at a time: the log under test runs in one thread.
    package final class SimulatedDisk {
        package nonisolated(unsafe) static var current = SimulatedDisk(seed: 0, pageShift: 9, isStrict: true)
        private nonisolated(unsafe) static var nextDescriptor: CInt = 1000

        package struct Kinds: OptionSet, Sendable {
            package let rawValue: UInt16
            package init(rawValue: UInt16) { self.rawValue = rawValue }
            package static let open = Kinds(rawValue: 1)
            package static let write = Kinds(rawValue: 2)
            package static let truncate = Kinds(rawValue: 4)
            package static let sync = Kinds(rawValue: 8)
            package static let rename = Kinds(rawValue: 16)
            package static let unlink = Kinds(rawValue: 32)
            package static let mkdir = Kinds(rawValue: 64)
            package static let read = Kinds(rawValue: 128)
            package static let all = Kinds(rawValue: 255)
            /// What changes something on the disk.
            package static let changes: Kinds = [.open, .write, .truncate, .sync, .rename, .unlink, .mkdir]
        }

        /// Calls that will fail.
        package struct Fault {
            package var kinds: Kinds
            /// So many calls of these kinds are made before.
            package var after: Int
            /// Then so many fail.
            package var count: Int
            package var code: CInt

            package init(kinds: Kinds, after: Int, count: Int, code: CInt) {
                self.kinds = kinds
                self.after = after
                self.count = count
                self.code = code
            }
        }

        // MARK: what it does

        package var random: SimulatedRandom
        package var clock: Int64 = 1_700_000_000_000
        package private(set) var bootID = ""
        package var fault: Fault?
        /// After so many changes nothing more is done, and every call fails: the process has been killed, and does not know.
        package var stopsAfter = Int.max
        package private(set) var isStopped = false
        /// Slow calls: one in so many takes a while of the simulated time.
        package var slowOneIn = 0
        /// Called by the cleaner before it reads on, without a lock.
        package var onCleanerRead: (() -> Void)?

        // MARK: counts

        /// Changes so far.
        package private(set) var changes = 0
        package private(set) var faults = 0
        /// Those of them that were syncs of files.
        package private(set) var failedSyncs = 0
        package private(set) var openFiles = 0

        private let pageShift: Int
        /// Syncing a file does not sync names (POSIX); otherwise it syncs all names (a journal).
        private let isStrict: Bool
        private let fillsWithGarbage: Bool
        private let root = SimulatedDirectory()
        /// Folders by path.
        private var directories: [String: SimulatedDirectory] = [:]
        private let firstDescriptor: CInt
        private var descriptors: [(node: SimulatedNode, isWritable: Bool)?] = []

        package init(seed: UInt64, pageShift: Int, isStrict: Bool, fillsWithGarbage: Bool = false) {
            self.random = SimulatedRandom(seed)
            self.pageShift = pageShift
            self.isStrict = isStrict
            self.fillsWithGarbage = fillsWithGarbage
            self.firstDescriptor = Self.nextDescriptor
            self.directories["/"] = self.root
            self.descriptors.reserveCapacity(256)
            self.bootID = String(self.random.next(), radix: 16)
        }

        // MARK: crashes

        /// A new process: descriptors of the old one are closed, locks are free.
        package func restartProcess() {
            self.isStopped = false
            self.stopsAfter = .max
            self.fault = nil
            for index in self.descriptors.indices {
                if let file = self.descriptors[index]?.node as? SimulatedFile { file.lockHolder = -1 }
                self.descriptors[index] = nil
            }
            self.openFiles = 0
        }

        /// - Parameter keep: of 8 unsynced changes so many are kept; 0: none, 8: all.
        package func cutPower(keep: Int) {
            self.restartProcess()
            self.directories = ["/": self.root]
            self.cutPower("", self.root, keep: keep)
            self.bootID = String(self.random.next(), radix: 16)
        }

        private func cutPower(_ path: String, _ directory: SimulatedDirectory, keep: Int) {
            directory.cutPower(keep: keep, &self.random)
            for (name, node) in directory.entries.sorted(by: { $0.key < $1.key }) {
                if let child = node as? SimulatedDirectory {
                    self.directories[path + "/" + name] = child
                    self.cutPower(path + "/" + name, child, keep: keep)
                } else if let file = node as? SimulatedFile {
                    file.cutPower(keep: keep, fillsWithGarbage: self.fillsWithGarbage, &self.random)
                }
            }
        }

        /// The kernel writes some of what is dirty when it likes.
        package func writeBackSome() {
            for directory in self.directories.values {
                for node in directory.entries.values {
                    if let file = node as? SimulatedFile, self.random.oneIn(2) { file.writeBackSome(&self.random) }
                }
            }
        }

        // MARK: for those who look on

        /// The names and files in a folder, by name.
        package func files(in path: String) -> [(name: String, file: SimulatedFile)] {
            guard let directory = self.directories[path] else { return [] }
            return directory.entries.compactMap { name, node in
                (node as? SimulatedFile).map { (name, $0) }
            }.sorted { $0.0 < $1.0 }
        }

        package func file(_ path: String) -> SimulatedFile? { self.find(path) as? SimulatedFile }

        // MARK: system calls

        /// Whether a call is carried out. False, with errno, where it fails.
        @inline(__always) private func begins(_ kind: Kinds) -> Bool {
            if kind != .read {
                self.changes += 1
                if self.changes > self.stopsAfter { self.isStopped = true }
            }
            if self.isStopped || self.fault != nil || self.slowOneIn != 0 { return self.beginsRarely(kind) }
            return true
        }

        private func beginsRarely(_ kind: Kinds) -> Bool {
            if self.isStopped {
                errno = EIO
                return false
            }
            if self.slowOneIn != 0, self.random.oneIn(self.slowOneIn) { self.clock += Int64(self.random.below(2000)) }
            guard var fault = self.fault, fault.kinds.contains(kind) else { return true }
            if fault.after > 0 {
                fault.after -= 1
                self.fault = fault
                return true
            }
            fault.count -= 1
            self.fault = fault.count > 0 ? fault : nil
            self.faults += 1
            errno = fault.code
            return false
        }

        func open(_ path: String, _ flags: CInt) -> CInt {
            let isCreating = flags & O_CREAT != 0
            var node: SimulatedNode
            let (folder, name) = self.split(path)
            if let found = self.directories[path] ?? self.find(folder, name) {
                guard self.begins(.read) else { return -1 }
                if flags & O_EXCL != 0 { return self.fail(EEXIST) }
                if flags & O_DIRECTORY != 0, found is SimulatedFile { return self.fail(ENOTDIR) }
                if found is SimulatedDirectory, flags & (O_RDWR | O_CREAT) != 0 { return self.fail(EISDIR) }
                node = found
            } else {
                guard isCreating, let directory = self.directories[folder] else {
                    return self.isStopped ? self.fail(EIO) : self.fail(ENOENT)
                }
                guard self.begins(.open) else { return -1 }
                let file = SimulatedFile(pageShift: self.pageShift, now: self.clock)
                directory.change(.add(name, file))
                node = file
            }
            let descriptor = Self.nextDescriptor
            Self.nextDescriptor &+= 1
            // Descriptors of other disks lie between.
            while self.descriptors.count < Int(descriptor - self.firstDescriptor) { self.descriptors.append(nil) }
            self.descriptors.append((node, flags & (O_RDWR | O_WRONLY) != 0))
            self.openFiles += 1
            return descriptor
        }

        func close(_ fd: CInt) {
            let index = Int(fd) - Int(self.firstDescriptor)
            guard self.descriptors.indices.contains(index), let open = self.descriptors[index] else { return }
            if let file = open.node as? SimulatedFile, file.lockHolder == fd { file.lockHolder = -1 }
            self.descriptors[index] = nil
            self.openFiles -= 1
        }

        @inline(__always) private func file(_ fd: CInt) -> SimulatedFile? {
            let index = Int(fd) - Int(self.firstDescriptor)
            guard self.descriptors.indices.contains(index), let open = self.descriptors[index] else { return nil }
            return open.node is SimulatedFile ? unsafeDowncast(open.node, to: SimulatedFile.self) : nil
        }

        private func isWritable(_ fd: CInt) -> Bool {
            self.descriptors[Int(fd) - Int(self.firstDescriptor)]?.isWritable == true
        }

        func pwrite(_ fd: CInt, _ bytes: UnsafeRawPointer, _ count: Int, _ position: Int64) -> Int {
            guard let file = self.file(fd), self.isWritable(fd) else { return Int(self.fail(EBADF)) }
            let wasStopped = self.isStopped
            guard self.begins(.write) else {
                // Half of it may have been done.
                let isInTheMidst = self.isStopped && !wasStopped
                if isInTheMidst || (errno == ENOSPC && self.random.oneIn(2)) {
                    let error = errno
                    file.write(bytes, self.random.below(count + 1), at: Int(position))
                    errno = error
                }
                return -1
            }
            file.modifiedMs = self.clock
            var done = count
            if count > 1, self.isShort { done = 1 + self.random.below(count - 1) }
            file.write(bytes, done, at: Int(position))
            return done
        }

        /// Some writes are cut short, and the rest must be written by another call.
        package var shortWriteOneIn = 0
        private var isShort: Bool { self.shortWriteOneIn != 0 && self.random.oneIn(self.shortWriteOneIn) }

        func pread(_ fd: CInt, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ position: Int64) -> Int {
            guard let file = self.file(fd) else { return Int(self.fail(EBADF)) }
            guard self.begins(.read) else { return -1 }
            return file.read(bytes, count, at: Int(position))
        }

        func size(_ fd: CInt) -> Int64 {
            guard let file = self.file(fd) else { return Int64(self.fail(EBADF)) }
            guard self.begins(.read) else { return -1 }
            return Int64(file.size)
        }

        func ftruncate(_ fd: CInt, _ size: Int64) -> CInt {
            guard let file = self.file(fd), self.isWritable(fd) else { return self.fail(EBADF) }
            guard size >= 0, size < 1 << 32 else { return self.fail(EINVAL) }
            guard self.begins(.truncate) else { return -1 }
            file.truncate(to: Int(size))
            return 0
        }

        func fsync(_ fd: CInt) -> CInt {
            let index = Int(fd) - Int(self.firstDescriptor)
            guard self.descriptors.indices.contains(index), let open = self.descriptors[index] else {
                return self.fail(EBADF)
            }
            let wasStopped = self.isStopped
            guard self.begins(.sync) else {
                if let file = open.node as? SimulatedFile, !self.isStopped {
                    let error = errno
                    self.failedSyncs += 1
                    file.failSync(&self.random)
                    errno = error
                }
                if self.isStopped && !wasStopped, let file = open.node as? SimulatedFile {
                    file.writeBackSome(&self.random)
                    errno = EIO
                }
                return -1
            }
            if let file = open.node as? SimulatedFile {
                file.sync()
                if !self.isStrict { self.syncNames() }
            } else if let directory = open.node as? SimulatedDirectory {
                if self.isStrict { directory.sync() } else { self.syncNames() }
            }
            return 0
        }

        private func syncNames() {
            for directory in self.directories.values where directory.hasPending { directory.sync() }
        }

        func syncfs(_ fd: CInt) -> CInt {
            guard self.begins(.sync) else { return -1 }
            for directory in self.directories.values {
                for node in directory.entries.values { (node as? SimulatedFile)?.sync() }
            }
            self.syncNames()
            return 0
        }

        func startWriteback(_ fd: CInt) {
            guard !self.isStopped, let file = self.file(fd) else { return }
            file.writeBackSome(&self.random)
        }

        func dropCache(_ fd: CInt) {
            guard !self.isStopped, let file = self.file(fd) else { return }
            file.dropCleanPages()
        }

        func lock(_ fd: CInt) -> CInt {
            guard let file = self.file(fd) else { return self.fail(EBADF) }
            guard self.begins(.read) else { return -1 }
            if file.lockHolder >= 0 && file.lockHolder != fd { return self.fail(EAGAIN) }
            file.lockHolder = fd
            return 0
        }

        func stat(_ path: String, _ status: inout FileSystem.Status) -> CInt {
            guard self.begins(.read) else { return -1 }
            guard let node = self.find(path) else { return self.fail(ENOENT) }
            if let file = node as? SimulatedFile {
                status = FileSystem.Status(size: file.size, modifiedMs: file.modifiedMs, isDirectory: false)
            } else {
                status = FileSystem.Status(size: 4096, modifiedMs: 0, isDirectory: true)
            }
            return 0
        }

        func access(_ path: String) -> CInt {
            guard self.begins(.read) else { return -1 }
            return self.find(path) == nil ? self.fail(ENOENT) : 0
        }

        func list(_ path: String, _ names: inout [String]) -> CInt {
            guard self.begins(.read) else { return -1 }
            guard let directory = self.directories[path] else { return self.fail(ENOENT) }
            names.append(contentsOf: directory.entries.keys)
            return 0
        }

        func mkdir(_ path: String) -> CInt {
            let (folder, name) = self.split(path)
            guard let parent = self.directories[folder] else { return self.fail(ENOENT) }
            if parent.entries[name] != nil { return self.fail(EEXIST) }
            guard self.begins(.mkdir) else { return -1 }
            let directory = SimulatedDirectory()
            parent.change(.add(name, directory))
            self.directories[path] = directory
            return 0
        }

        func rename(_ from: String, _ to: String) -> CInt {
            let (fromFolder, fromName) = self.split(from)
            let (toFolder, toName) = self.split(to)
            guard let source = self.directories[fromFolder], let target = self.directories[toFolder],
                let node = source.entries[fromName]
            else { return self.isStopped ? self.fail(EIO) : self.fail(ENOENT) }
            guard self.begins(.rename) else { return -1 }
            guard source === target else { return self.fail(EXDEV) }
            source.change(.move(fromName, toName, node))
            if node is SimulatedDirectory {
                self.directories[to] = self.directories.removeValue(forKey: from)
            }
            return 0
        }

        func unlink(_ path: String) -> CInt {
            let (folder, name) = self.split(path)
            guard let directory = self.directories[folder], let node = directory.entries[name] else {
                return self.isStopped ? self.fail(EIO) : self.fail(ENOENT)
            }
            guard self.begins(.unlink) else { return -1 }
            guard node is SimulatedFile else { return self.fail(EISDIR) }
            directory.change(.remove(name, node))
            return 0
        }

        func rmdir(_ path: String) -> CInt {
            let (folder, name) = self.split(path)
            guard let parent = self.directories[folder], let node = parent.entries[name] as? SimulatedDirectory else {
                return self.isStopped ? self.fail(EIO) : self.fail(ENOENT)
            }
            guard self.begins(.unlink) else { return -1 }
            guard node.entries.isEmpty else { return self.fail(ENOTEMPTY) }
            parent.change(.remove(name, node))
            self.directories[path] = nil
            return 0
        }

        // MARK: paths

        private func fail(_ code: CInt) -> CInt {
            errno = code
            return -1
        }

        private func split(_ path: String) -> (folder: String, name: String) {
            var path = path
            return path.withUTF8 { utf8 in
                guard let slash = utf8.lastIndex(of: UInt8(ascii: "/")) else {
                    return ("/", String(decoding: utf8, as: UTF8.self))
                }
                let name = String(decoding: UnsafeBufferPointer(rebasing: utf8[(slash + 1)...]), as: UTF8.self)
                if slash == 0 { return ("/", name) }
                return (String(decoding: UnsafeBufferPointer(rebasing: utf8[..<slash]), as: UTF8.self), name)
            }
        }

        private func find(_ folder: String, _ name: String) -> SimulatedNode? {
            self.directories[folder]?.entries[name]
        }

        private func find(_ path: String) -> SimulatedNode? {
            if let directory = self.directories[path] { return directory }
            let (folder, name) = self.split(path)
            return self.find(folder, name)
        }
    }
#endif
