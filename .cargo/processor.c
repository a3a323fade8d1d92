/* Runs before main, compiled for any x86-64 processor: says in one sentence what an illegal instruction would not.
 * Linked in wherever config.toml asks for x86-64-v3. */
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor(101))) static void require_x86_64_v3(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
        return;
    }
    static const char sentence[] =
        "This program is built for processors with AVX2, FMA and BMI2 (x86-64-v3, most since 2013), which this one "
        "lacks. Use the portable build: docker build --build-arg PORTABLE=1, or RUSTFLAGS='-C target-cpu=x86-64'.\n";
    ssize_t written = write(2, sentence, sizeof sentence - 1);
    _exit(written < 0 ? 2 : 1);
}
