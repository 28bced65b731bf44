// Package project makes plugins: it writes the folder a new one begins with, and
// turns a folder into a module that carries its manifest.
package project
