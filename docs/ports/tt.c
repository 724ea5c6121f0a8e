/* The tensorized linear layer in TT format, forward and backward, in plain C: cc -O2 -o tt tt.c && ./tt CASES RESULTS

   W[s1..sd] = sum over r of cores.0[0, s1, r1] cores.1[r1, s2, r2] .. cores.(d-1)[.., sd, 0],   modes: input, then output
   y[b, o] = sum_i x[b, i] W[i, o] + bias[o]

   prefix[k] holds the product of the cores before k, suffix[k] that of those after it, so that
   dcores.k[r, s, t] = sum over all modes of prefix[k][.., r] dW[.., s, ..] suffix[k][t, ..],  dW[i, o] = sum_b x[b, i] dy[b, o]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct { char name[32]; int n, shape[16]; long size; double *at; } Array;

static FILE *in, *out;
static long number(void) { long n; if (fscanf(in, "%ld", &n) != 1) exit(3); return n; }
static void expect(const char *word) { char got[64]; if (fscanf(in, "%63s", got) != 1 || strcmp(got, word)) exit(3); }
static long sizes(int *shape) { long n = number(), size = 1; for (int k = 0; k < n; k++) size *= shape[k] = number(); return size; }
static double *zeros(long n) { double *a = calloc(n + 1, sizeof *a); if (!a) exit(4); return a; }

static Array array(void) {
    Array a;
    if (fscanf(in, "%31s", a.name) != 1) exit(3);
    a.n = number(); a.size = 1;
    for (int k = 0; k < a.n; k++) a.size *= a.shape[k] = number();
    a.at = zeros(a.size);
    for (long k = 0; k < a.size; k++) if (fscanf(in, "%lf", a.at + k) != 1) exit(3);
    return a;
}

static void write_array(const char *name, int n, const int *shape, const double *at) {
    long size = 1;
    fprintf(out, "%s %d", name, n);
    for (int k = 0; k < n; k++) { fprintf(out, " %d", shape[k]); size *= shape[k]; }
    for (long k = 0; k < size; k++) fprintf(out, " %.17g", at[k]);
    fputc('\n', out);
}

/* c[i, k] += sum_j a[i, j] b[j, k], each operand transposed on demand by its strides */
static void multiply(long I, long J, long K, const double *a, long ai, long aj, const double *b, long bj, long bk, double *c) {
    for (long i = 0; i < I; i++) for (long j = 0; j < J; j++) for (long k = 0; k < K; k++)
        c[i * K + k] += a[i * ai + j * aj] * b[j * bj + k * bk];
}

int main(int argc, char **argv) {
    char path[4096], word[32], dtype[32];
    if (argc != 3) return fprintf(stderr, "usage: tt CASES RESULTS\n"), 2;
    snprintf(path, sizeof path, "%s/cases.txt", argv[1]); in = fopen(path, "r");
    snprintf(path, sizeof path, "%s/results.txt", argv[2]); out = fopen(path, "w");
    if (!in || !out) return fprintf(stderr, "cannot open the files\n"), 2;
    expect("tlinear"); number(); expect("cases");
    for (long n_cases = number(), c = 0; c < n_cases; c++) {
        int in_shape[16], out_shape[16], batch[16];
        expect("case"); number();
        if (fscanf(in, "%31s %31s", word, dtype) != 2) return 3;
        if (strcmp(word, "tt") || strncmp(dtype, "float", 5)) return fprintf(stderr, "only real TT is ported\n"), 2;
        expect("in"); long I = sizes(in_shape); expect("out"); long O = sizes(out_shape);
        expect("batch"); long B = sizes(batch); expect("layers"); if (number() != 1) return 2;
        expect("arrays"); int n = number(), d = 0;
        Array arrays[40], *x = 0, *dy = 0, *bias = 0;
        for (int k = 0; k < n; k++) {
            arrays[k] = array();
            if (!strcmp(arrays[k].name, "x")) x = arrays + k;
            else if (!strcmp(arrays[k].name, "dy")) dy = arrays + k;
            else if (!strcmp(arrays[k].name, "bias")) bias = arrays + k;
            else d++;
        }
        double *prefix[40], *suffix[40], one = 1;      /* prefix[k]: [modes before k, R_k]; suffix[k]: [R_k, modes from k] */
        long before[40] = {1}, after[40];
        prefix[0] = suffix[d] = &one; after[d] = 1;
        for (int k = 0; k < d; k++) {
            int *s = arrays[k].shape;
            before[k + 1] = before[k] * s[1];
            prefix[k + 1] = zeros(before[k + 1] * s[2]);
            multiply(before[k], s[0], s[1] * s[2], prefix[k], s[0], 1, arrays[k].at, s[1] * s[2], 1, prefix[k + 1]);
        }
        for (int k = d - 1; k >= 0; k--) {
            int *s = arrays[k].shape;
            after[k] = s[1] * after[k + 1];
            suffix[k] = zeros(s[0] * after[k]);
            multiply(s[0] * s[1], s[2], after[k + 1], arrays[k].at, s[2], 1, suffix[k + 1], after[k + 1], 1, suffix[k]);
        }
        double *W = prefix[d], *y = zeros(B * O), *dx = zeros(B * I), *dW = zeros(I * O), *dbias = zeros(O);
        for (long k = 0; bias && k < B * O; k++) y[k] = bias->at[k % O];
        multiply(B, I, O, x->at, I, 1, W, O, 1, y);
        multiply(B, O, I, dy->at, O, 1, W, 1, O, dx);
        multiply(I, B, O, x->at, 1, I, dy->at, O, 1, dW);
        for (long k = 0; k < B * O; k++) dbias[k % O] += dy->at[k];
        fprintf(out, "case %ld\n", c);
        write_array("y", dy->n, dy->shape, y); write_array("dx", x->n, x->shape, dx);
        if (bias) write_array("dbias", 1, bias->shape, dbias);
        for (int k = 0; k < d; k++) {
            int *s = arrays[k].shape; char name[34] = "d";
            double *part = zeros(s[0] * after[k]), *gradient = zeros(arrays[k].size);  /* part[r, s, ..]: dW met by prefix[k] */
            multiply(s[0], before[k], after[k], prefix[k], 1, s[0], dW, after[k], 1, part);
            multiply(s[0] * s[1], after[k + 1], s[2], part, after[k + 1], 1, suffix[k + 1], 1, after[k + 1], gradient);
            write_array(strcat(name, arrays[k].name), 3, s, gradient);
        }
    }
    return fclose(out) ? 5 : 0;
}
