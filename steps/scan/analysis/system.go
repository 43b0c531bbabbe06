package analysis

import "github.com/imagewright/imagewright/internal/image"

// systemAnalyzers returns who wants a file because it says which distribution
// this is, or what its package manager installed.
func (l *layer) systemAnalyzers(e image.Entry) []analyzer {
	p := e.Path
	var wanted []analyzer
	if releaseFile(p) {
		wanted = append(wanted, analyzer{nameOS, l.opts.MaxFile, l.release})
	}
	switch {
	case dpkgFile(p):
		wanted = append(wanted, analyzer{nameDpkg, l.opts.MaxFile, l.dpkg.parse})
	case apkFile(p):
		wanted = append(wanted, analyzer{nameApk, l.opts.MaxFile, l.apk})
	case p == apkRepositories:
		wanted = append(wanted, analyzer{nameApkRepo, l.opts.MaxFile, l.apkRepository})
	case rpmFile(p):
		l.problem(Problem{Path: p, Analyzer: nameRpm}, errRpm)
	}
	return wanted
}
