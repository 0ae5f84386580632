/* Appends to many files, one after the other, as a broker does whose clients write to many partitions: the least that
   the same writes can cost. Each file is in a folder of its own. Prints the latencies of an open (where the file is not
   among those that are open), and one write.

   many_files FOLDER FILES ROUNDS BYTES OPEN_FILES */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: many_files FOLDER FILES ROUNDS BYTES OPEN_FILES\n");
        return 2;
    }
    const char *folder = argv[1];
    long files = atol(argv[2]), rounds = atol(argv[3]), bytes = atol(argv[4]), limit = atol(argv[5]);
    if (files < 1 || rounds < 1 || bytes < 1 || limit < 1) return 2;
    char path[4096];
    char *data = malloc((size_t)bytes);
    int *descriptors = malloc(sizeof(int) * (size_t)files);
    double *times = malloc(sizeof(double) * (size_t)(files * rounds));
    if (!data || !descriptors || !times) die("malloc");
    memset(data, 'x', (size_t)bytes);
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) die(folder);
    for (long i = 0; i < files; i++) {
        snprintf(path, sizeof path, "%s/partition-%ld", folder, i);
        if (mkdir(path, 0755) != 0) die(path);
        snprintf(path, sizeof path, "%s/partition-%ld/00000000000000000000.log", folder, i);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0) die(path);
        close(fd);
        descriptors[i] = -1;
    }
    long open_files = 0, hand = 0, count = 0;
    for (long round = 0; round < rounds; round++) {
        for (long i = 0; i < files; i++) {
            double began = now_ms();
            if (descriptors[i] < 0) {
                while (open_files >= limit) {
                    if (descriptors[hand] >= 0) {
                        close(descriptors[hand]);
                        descriptors[hand] = -1;
                        open_files--;
                    }
                    hand = (hand + 1) % files;
                }
                snprintf(path, sizeof path, "%s/partition-%ld/00000000000000000000.log", folder, i);
                descriptors[i] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
                if (descriptors[i] < 0) die(path);
                open_files++;
            }
            if (pwrite(descriptors[i], data, (size_t)bytes, round * bytes) != bytes) die("pwrite");
            times[count++] = now_ms() - began;
        }
    }
    qsort(times, (size_t)count, sizeof(double), compare);
    printf("{\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f}\n", times[count / 2],
           times[(long)((double)count * 0.99)], times[(long)((double)count * 0.999)], times[count - 1]);
    return 0;
}
